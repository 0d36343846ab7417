"""Ask the resolver on this box for the root's name servers; fail unless it answers, validated."""

import socket
import struct
import sys

UNCHANGED = "/etc/resolv.conf stays as it is."
# RFC 1035, section 4.1.1: identifier, flags, one question. RFC 6840, section 5.7: AD in the question asks for it back.
RECURSION_DESIRED, AUTHENTIC_DATA, RCODE = 0x0100, 0x0020, 0x000F
NS, IN = 2, 1
query = struct.pack("!6H", 1, RECURSION_DESIRED | AUTHENTIC_DATA, 1, 0, 0, 0) + b"\0" + struct.pack("!2H", NS, IN)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
    connection.settimeout(5)
    connection.connect(("127.0.0.1", 53))
    try:
        connection.send(query)
        _, flags = struct.unpack("!2H", connection.recv(4096)[:4])
    except OSError as error:
        sys.exit(f"unbound does not answer at 127.0.0.1 ({error}): see `journalctl -u unbound`. {UNCHANGED}")

if flags & RCODE:
    sys.exit(
        f"unbound answers with error {flags & RCODE}. It asks the root's name servers itself: is port 53 open to the"
        f" world, and is the clock right (signatures are valid for a time)? {UNCHANGED}"
    )
if not flags & AUTHENTIC_DATA:
    sys.exit(f"unbound answers, but the answer was not validated: has it a trust anchor? {UNCHANGED}")
