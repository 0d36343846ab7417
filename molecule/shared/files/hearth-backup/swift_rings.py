"""Writes Swift's three rings, its maps of what lies where: one copy of everything, in one folder of this machine.

Swift's own package does the work; its command would be started nine times.
"""

from swift.common.ring import RingBuilder

# As the servers' configuration has them.
PORTS = {"account": 6202, "container": 6201, "object": 6200}

for name, port in PORTS.items():
    # 2 to the power of 0 parts, one copy of each.
    builder = RingBuilder(0, 1, 0)
    place = {"ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1.0, "region": 1, "zone": 1}
    builder.add_dev({"id": 0, **place, "replication_ip": "127.0.0.1", "replication_port": port, "meta": ""})
    builder.rebalance(seed="lab")
    builder.get_ring().save(f"/etc/swift/{name}.ring.gz")
