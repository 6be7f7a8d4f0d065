"""The data channel's wire format, which gateway and blob service share. Source: blob.proto."""

from moorage.channel.frames import MAX_MESSAGE, MAX_TAIL, Frame, FrameBuffer, FrameError, pack_frame
from moorage.channel.sockets import connect, data_socket, set_up_tcp
from moorage.channel.tunnel import Tunnel, Tunnels, answer, dial

__all__ = [
    "MAX_MESSAGE",
    "MAX_TAIL",
    "Frame",
    "FrameBuffer",
    "FrameError",
    "Tunnel",
    "Tunnels",
    "answer",
    "connect",
    "data_socket",
    "dial",
    "pack_frame",
    "set_up_tcp",
]
