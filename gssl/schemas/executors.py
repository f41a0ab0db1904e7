"""Where runs, and parts of comparisons, run: this machine's processes, Slurm jobs, or tasks of a Ray cluster."""

from typing import Literal

from pydantic import Field

from gssl.schemas.section import Section, Text


class Local(Section):
    """Processes of this machine; `jobs` says how many side by side."""

    name: Literal["local"]


class Slurm(Section):
    """A Slurm job per run or part, submitted by submitit."""

    name: Literal["slurm"]
    cluster: Literal["slurm", "local"] = Field(description="local: submitit's processes on this machine, to try it")
    partition: Text | None = Field(description="null: the cluster's default")
    time: int = Field(ge=1, description="minutes of a job; what is saved by then goes on in the next one")
    gpus: int = Field(ge=0, description="per job")
    cpus: int = Field(ge=1, description="per job; engine.threads=0 takes as many threads")
    memory: float | None = Field(gt=0, description="GB per job; null: the cluster's default")
    setup: list[Text] = Field(description="shell commands before each job, such as ['module load cuda']")
    options: dict[Text, Text | bool] = Field(description="further options of sbatch, such as {account: mine, qos: low}")
    warning: int = Field(ge=10, description="seconds before its time is over at which a job is told to save")
    max_jobs: int = Field(ge=1, description="queued and running at once")
    max_preemptions: int = Field(ge=0, description="times that a job which saved and stopped is submitted again")
    max_lost: int = Field(ge=0, description="times that a job which vanished is submitted again")
    patience: int = Field(ge=1, description="seconds in which files of a job that has gone may still appear")
    homogeneous: bool = Field(description="all machines of the jobs are of one kind, so budget.seconds is fair")
    unshared: list[Text] = Field(description="folders that other machines do not have: runs must lie elsewhere")


class Ray(Section):
    """A task of a Ray cluster per run or part."""

    name: Literal["ray"]
    address: Text | None = Field(description="HOST:PORT | auto | null: a Ray of its own on this machine")
    gpus: float = Field(ge=0, description="per task; may be a fraction")
    cpus: int = Field(ge=1, description="per task; engine.threads=0 takes as many threads")
    memory: float | None = Field(gt=0, description="GB per task, by which Ray places tasks; null: not counted")
    max_jobs: int = Field(ge=1, description="waiting and running at once")
    max_preemptions: int = Field(ge=0, description="times that a job which saved and stopped is submitted again")
    max_lost: int = Field(ge=0, description="times that a part whose task vanished is submitted again")
    patience: int = Field(ge=1, description="seconds in which files of a task that has gone may still appear")
    homogeneous: bool = Field(description="all machines of the cluster are of one kind, so budget.seconds is fair")
    unshared: list[Text] = Field(description="folders that other machines do not have: runs must lie elsewhere")


LOCAL = Local(name="local")
EXECUTORS: dict[str, type[Section]] = {"local": Local, "slurm": Slurm, "ray": Ray}


def on_this_machine(executor: Section) -> bool:
    """Whether all parts run on the machine that starts them."""
    if isinstance(executor, Slurm):
        return executor.cluster == "local"
    return not isinstance(executor, Ray) or executor.address is None
