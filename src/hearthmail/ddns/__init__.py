"""The DNS agent: keeps the zone's address and mail records right, and touches nothing else in it."""
