"""What a measurement is: records, clock and files (numpy only); statistics, verdicts, the store.

The agent that runs on a device carries ``errors``, ``files``, ``records``, ``registry`` and ``clock`` along, so these
import nothing but the standard library and numpy.
"""
