"""`hearth-probe`: looks every minute whether mail flows, mends what it can, and tells a person of the rest."""
