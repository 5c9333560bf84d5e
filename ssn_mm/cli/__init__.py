"""What each tool does, and what the tools share."""

from .environment import check_environment, fails_in_a_tool

try:
    check_environment()
except ImportError as error:
    fails_in_a_tool(error)
