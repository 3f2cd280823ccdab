"""Change data capture: the operational database's log becomes raw hours of Debezium envelopes.

``python -m ingestion.capture [--bucket B]`` runs the Debezium engine in this process. What a change is and in which
hour it belongs is :mod:`.envelopes`; what landed and where to go on is :mod:`.checkpoint`; :mod:`.sink` writes files,
checkpoint and manifests in the order that loses and doubles nothing.
"""
