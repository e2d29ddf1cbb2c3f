"""Devices that adb reaches and that have no Python: a small C program there, and its other half here.

runner.c       runs on the device: loads ONNX Runtime's library, times models, holds the lock
link.py        the adb client: files there and back, and a conversation with the runner
bridge.py      what a session takes for the agent: its requests in, answers out
operations.py  each request in the runner's words, and its answer
"""
