"""What each tool does, and what the tools share."""

from ..needs import stop_tool
from .environment import check_environment

try:
    check_environment()
except ImportError as error:
    stop_tool(error)
