"""Producers' library for usher: jobs in, one answer for each out.

    from usher_client import connect

    with connect("node1:7433,node2:7433") as client:
        accepted = client.send({"executable": "/bin/echo", "arguments": ["hello"]})

Standard library only. See docs/clients.md of the project."""

from .aio import AsyncClient, connect_async
from .answers import Accepted, BatchResult, ConnectedTo
from .client import Client, connect
from .encoder import encode_fields
from .errors import CODES, DisconnectedError, InDoubtError, RefusedError, UnsentError, UsherError
from .ids import JobId, format_job_id, parse_job_id, producer_of_name
from .jobs import Attributes, Job, JobEnvelope, JobInput, JobSpec, Label, NumberedJob, Resources
from .options import Options
from .watching import Event, Stats

__version__ = "0.1.0"

__all__ = [
    "CODES", "Accepted", "AsyncClient", "Attributes", "BatchResult", "Client", "ConnectedTo", "DisconnectedError", "Event",
    "InDoubtError", "Job", "JobEnvelope", "JobId", "JobInput", "JobSpec", "Label", "NumberedJob", "Options", "RefusedError",
    "Resources", "Stats", "UnsentError", "UsherError", "connect", "connect_async", "encode_fields", "format_job_id",
    "parse_job_id", "producer_of_name",
]  # fmt: skip
