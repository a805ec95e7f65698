"""Unbroken's client: record ticks, award badges and points, read their results."""

from unbroken_client.client import Unbroken as Unbroken
from unbroken_client.client import raise_for_error as raise_for_error
from unbroken_client.errors import ApiError as ApiError
from unbroken_client.errors import UnbrokenError as UnbrokenError
from unbroken_client.errors import Unreachable as Unreachable
from unbroken_client.many import Sending as Sending
from unbroken_client.queue import Limits as Limits
from unbroken_client.queue import TickQueue as TickQueue
from unbroken_client.results import Accepted as Accepted
from unbroken_client.results import Recorded as Recorded
from unbroken_client.transport import Retries as Retries
from unbroken_client.wish import Wish as Wish
