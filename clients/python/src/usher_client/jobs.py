"""A job as people and programs write it: PSI/J's JobSpec by its names, with `cluster` and `traceparent` beside its fields.
Only types; encoder.py checks and encodes. None counts as left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, TypedDict, Union

#: Values of environment variables and labels: numbers and booleans become their JSON text.
Label = Union[str, int, float, bool]


class Resources(TypedDict, total=False):
    node_count: Optional[int]
    process_count: Optional[int]
    processes_per_node: Optional[int]
    cpu_cores_per_process: Optional[int]
    gpu_cores_per_process: Optional[int]
    exclusive_node_use: Optional[bool]
    #: Bytes, of the whole job.
    memory: Optional[int]


class Attributes(TypedDict, total=False):
    #: "7205 s", "1.5 h", "02:00:05"; an integer counts minutes, as in PSI/J.
    duration: Union[str, int, None]
    queue_name: Optional[str]
    account: Optional[str]
    reservation_id: Optional[str]
    custom_attributes: Optional[Mapping[str, Label]]


class _Executable(TypedDict):
    executable: str


class JobSpec(_Executable, total=False):
    name: Optional[str]
    arguments: Optional[Sequence[str]]
    directory: Optional[str]
    #: Left out: true.
    inherit_environment: Optional[bool]
    environment: Optional[Mapping[str, Label]]
    stdin_path: Optional[str]
    stdout_path: Optional[str]
    stderr_path: Optional[str]
    resources: Optional[Resources]
    attributes: Optional[Attributes]
    pre_launch: Optional[str]
    post_launch: Optional[str]
    launcher: Optional[str]


class Job(JobSpec, total=False):
    #: Which configured cluster; left out: the only one.
    cluster: Optional[str]
    #: W3C Trace Context.
    traceparent: Optional[str]


class _Spec(TypedDict):
    spec: JobSpec


class JobEnvelope(_Spec, total=False):
    cluster: Optional[str]
    traceparent: Optional[str]


#: What is sent: a Job, a JobEnvelope, or any mapping of that shape, as json.loads returns it.
JobInput = Union[Job, JobEnvelope, Mapping[str, Any]]

if TYPE_CHECKING:
    #: A job with the sequence that the caller gave it, never given to another.
    NumberedJob = tuple[int, JobInput]
else:
    NumberedJob = tuple
