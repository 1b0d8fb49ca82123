"""Exports of chats, as the programs write them, to documents whose turns have authors.

One file a program. `recognise` is the door for one file, `recognise_folder` for exports of many.
"""

from sharedllm.text.conversations.folders import Recognised, recognise_folder
from sharedllm.text.conversations.recognition import recognise

__all__ = ["Recognised", "recognise", "recognise_folder"]
