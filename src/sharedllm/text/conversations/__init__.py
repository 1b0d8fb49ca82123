"""Exports of chats, as the programs write them, to documents whose turns have authors.

One file a program. `recognise` is the door for one file, `recognise_folder` for exports of many; `people_in` tells
chats of other programs from one person's words.
"""

from sharedllm.text.conversations.folders import Recognised, recognise_folder
from sharedllm.text.conversations.recognition import recognise
from sharedllm.text.conversations.unknown import people_in

__all__ = ["Recognised", "people_in", "recognise", "recognise_folder"]
