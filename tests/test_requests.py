"""What clusters would be asked for, to the letter, from TorchX's dry run: no cluster is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.launcher import Launcher
from nas.study import Train
from profiles.errors import InputError, UnavailableError

TRIAL = Path("/runs/digits/trials/3")
ASKED: dict[str, Any] = {"cpu": 2, "gpu": 1, "memory_mb": 8000, "threads": 2, "image": "lab/hwnas:1"}
COMMAND = ["python", "-m", "nas.training.job", "/runs/digits/trials/3/candidate.json", "/runs/digits/trials/3/job"]
COMMAND += ["default", "--ticket", "t1", "--app-id", "NAME"]


def request(scheduler: str, options: dict[str, Any], mounts: list[str]) -> str:
    """As text. Names end in random letters, which are left out."""
    launcher = Launcher(scheduler, options, mounts=mounts, **ASKED)
    text = str(launcher.request(TRIAL / "candidate.json", TRIAL / "job", None, "t1"))
    return re.sub(r"hwnas-trials-3-[a-z0-9]+", "NAME", text)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_kubernetes(tmp_path: Path) -> None:
    """A Volcano job. TorchX asks for 100 millicores and 1024 MB less than the limit, for the nodes."""
    pytest.importorskip("kubernetes")
    options = {"queue": "gpu", "namespace": "nas", "service_account": "trainer", "priority_class": "low"}
    found = yaml.safe_load(request("kubernetes", options, ["type=volume,src=runs,dst=/runs"]))
    labels = {
        "app.kubernetes.io/instance": "NAME",
        "app.kubernetes.io/managed-by": "torchx.pytorch.org",
        "app.kubernetes.io/name": "hwnas-trials-3",
        "torchx.pytorch.org/app-name": "hwnas-trials-3",
        "torchx.pytorch.org/replica-id": "0",
        "torchx.pytorch.org/role-index": "0",
        "torchx.pytorch.org/role-name": "train",
        "torchx.pytorch.org/version": "0.7.0",
    }
    environment = {
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": str(tmp_path),
        "TORCHX_JOB_ID": "kubernetes://hwnas/NAME",
        "TORCHX_RANK0_HOST": "localhost",
    }
    container = {
        "name": "train-0",
        "image": "lab/hwnas:1",
        "command": COMMAND,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [],
        "resources": {
            "limits": {"cpu": "2000m", "memory": "8000M", "nvidia.com/gpu": "1"},
            "requests": {"cpu": "1900m", "memory": "6976M", "nvidia.com/gpu": "1"},
        },
        "securityContext": {},
        "volumeMounts": [
            {"name": "dshm", "mountPath": "/dev/shm"},
            {"name": "mount-0", "mountPath": "/runs", "readOnly": False},
        ],
    }
    pod = {
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}, "labels": labels},
        "spec": {
            "containers": [container],
            "nodeSelector": {},
            "restartPolicy": "Never",
            "serviceAccountName": "trainer",
            "volumes": [
                {"name": "dshm", "emptyDir": {"medium": "Memory"}},
                {"name": "mount-0", "persistentVolumeClaim": {"claimName": "runs"}},
            ],
        },
    }
    assert found == {
        "apiVersion": "batch.volcano.sh/v1alpha1",
        "kind": "Job",
        "metadata": {"name": "NAME"},
        "spec": {
            "schedulerName": "volcano",
            "queue": "gpu",
            "priorityClassName": "low",
            "maxRetry": 0,
            "plugins": {"env": [], "svc": ["--publish-not-ready-addresses"]},
            "tasks": [{"name": "train-0", "replicas": 1, "template": pod}],
        },
    }


def test_aws_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    found = yaml.safe_load(request("aws_batch", {"queue": "gpu"}, ["type=bind,src=/mnt/efs/runs,dst=/runs"]))
    environment = {
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": str(tmp_path),
        "TORCHX_JOB_ID": "aws_batch://hwnas/NAME",
        "TORCHX_ROLE_IDX": "0",
        "TORCHX_ROLE_NAME": "train",
    }
    container = {
        "image": "lab/hwnas:1",
        "command": COMMAND,
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
        "linuxParameters": {"devices": [], "sharedMemorySize": 8000},
        "logConfiguration": {"logDriver": "awslogs"},
        "mountPoints": [{"containerPath": "/runs", "readOnly": False, "sourceVolume": "mount_0"}],
        "privileged": False,
        "resourceRequirements": [
            {"type": "VCPU", "value": "2"},
            {"type": "MEMORY", "value": "8000"},
            {"type": "GPU", "value": "1"},
        ],
        "volumes": [{"name": "mount_0", "host": {"sourcePath": "/mnt/efs/runs"}}],
    }
    tags = {f"torchx.pytorch.org/{key}": value for key, value in
            (("app-name", "hwnas-trials-3"), ("user", "ann"), ("version", "0.7.0"))}  # fmt: skip
    assert found == {
        "name": "NAME",
        "queue": "gpu",
        "share_id": None,
        "images_to_push": {},
        "job_def": {
            "jobDefinitionName": "NAME",
            "type": "multinode",
            "nodeProperties": {
                "numNodes": 1,
                "mainNode": 0,
                "nodeRangeProperties": [{"targetNodes": "0:0", "container": container}],
            },
            "retryStrategy": {"attempts": 1, "evaluateOnExit": [{"action": "EXIT", "onExitCode": "0"}]},
            "tags": tags,
        },
    }


def test_local_docker(tmp_path: Path) -> None:
    launcher = Launcher("local_docker", {}, mounts=["type=bind,src=/runs,dst=/runs"], **ASKED)
    (found,) = launcher.request(TRIAL / "candidate.json", TRIAL / "job", None, "t1").request.containers
    name = found.kwargs["hostname"]
    assert found.image == "lab/hwnas:1" and [*found.command[:-1], "NAME"] == COMMAND
    assert found.kwargs["environment"]["PYTHONPATH"] == str(tmp_path)
    assert found.kwargs["mounts"] == [{"Target": "/runs", "Source": "/runs", "Type": "bind", "ReadOnly": False}]
    assert found.kwargs["nano_cpus"] == 2_000_000_000 and found.kwargs["mem_limit"] == "8000m"
    assert found.kwargs["device_requests"][0]["Count"] == 1 and name.startswith("hwnas-trials-3-")


def test_dollar_signs_of_the_current_folder_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a$$b ${app_id}"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (found,) = Launcher("local_docker", **ASKED).request(TRIAL / "c", TRIAL / "job").request.containers
    assert found.kwargs["environment"]["PYTHONPATH"] == str(folder)
    (replica,) = Launcher("slurm").request(TRIAL / "c", TRIAL / "job").request.replicas.values()
    assert str(folder) in replica.env["PYTHONPATH"].split(":")


def test_slurm(tmp_path: Path) -> None:
    """No container: hwnas is there, at the same place, on every node."""
    launcher = Launcher("slurm", {"partition": "main", "time": 5}, cpu=2, gpu=1, memory_mb=8000)
    found = launcher.request(TRIAL / "candidate.json", TRIAL / "job", None, "t1").request
    (replica,) = found.replicas.values()
    asked = {"cpus-per-task": "2", "gpus-per-task": "1", "mem": "8000", "partition": "main", "time": "5"}
    assert asked.items() <= replica.sbatch_opts.items()
    assert replica.srun_opts["cpus-per-task"] == "2"  # which srun does not take from the batch job
    assert found.job_dir == str(TRIAL / "job" / "torchx")
    # After a preemption hwnas itself starts another job; Slurm would start this one again beside it.
    assert "--no-requeue" in found.materialize() and "--requeue" not in found.materialize()


@pytest.mark.parametrize(
    ("scheduler", "options", "image", "message"),
    [
        ("kubernetes", {"queue": "q"}, "", r"train\.image: given ''; accepted: a container image"),
        ("kubernetes", {}, "i", r"train\.options\.queue: not given; accepted: Volcano queue"),
        ("aws_batch", {}, "i", r"train\.options\.queue: not given"),
        ("lsf", {}, "", r"train\.image: given ''; accepted: a container image with hwnas in it, for lsf"),
        ("local_docker", {"nowhere": 1}, "i", r"train\.options\.nowhere: given 1; accepted: .*privileged"),
    ],
)
def test_what_is_lacking_is_said_before_anything_starts(
    scheduler: str, options: dict[str, Any], image: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Launcher(scheduler, options, image=image)


@pytest.mark.parametrize("mount", ["/runs:/runs", "type=bind,src=/runs", "type=nfs,src=a,dst=/b", "", "type=device"])
def test_a_wrong_mount_is_bad_input_before_anything_starts(mount: str) -> None:
    with pytest.raises(InputError, match=rf"train\.mounts: given '{mount}'; accepted: type=bind, volume or dev"):
        Launcher("local_docker", mounts=["type=bind,src=/a,dst=/a", mount], image="i")


def test_a_missing_package_is_one_line_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.schedulers.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=r"aws_batch needs the package boto3: pip install 'hwnas\[aws\]'"):
        Launcher("aws_batch", {"queue": "q"}, image="i").check()
    with pytest.raises(UnavailableError, match=r"kubernetes needs the package kubernetes: pip install 'hwnas"):
        request("kubernetes", {"queue": "q"}, [])
    Launcher().check()


def test_a_study_says_which_image_and_what_it_sees() -> None:
    train = Train.model_validate(
        {"scheduler": "kubernetes", "image": "lab/hwnas:1", "mounts": ["type=volume,src=a,dst=/b"]}
    )
    assert (train.image, train.mounts) == ("lab/hwnas:1", ["type=volume,src=a,dst=/b"])


def test_a_dry_run_prints_the_request_and_submits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    from benchmarks import search

    pytest.importorskip("kubernetes")
    tried: list[Any] = []

    def stop(study: Any, **_: Any) -> None:
        tried.append(study)
        raise InputError("far enough")

    monkeypatch.setattr("nas.run.run_study", stop)
    settings = {"train.scheduler": "kubernetes", "train.image": "lab/hwnas:1", "train.options.queue": "gpu"}
    with pytest.raises(InputError, match="far enough"):
        search.run(
            root / "studies" / "digits.toml", settings, out=None, resume=False, dry_run=True, report=False, fleet=None,
            store=None, json=False,
        )  # fmt: skip
    found = yaml.safe_load(capsys.readouterr().out)
    command = found["spec"]["tasks"][0]["template"]["spec"]["containers"][0]["command"]
    assert command[3] == str(tmp_path / "runs" / "digits" / "trials" / "0" / "candidate.json")
    assert tried[0].train.scheduler == "local_cwd" and tried[0].train.image == ""
