"""A seeded marketplace whose truth is known, and the traffic that it sends.

History in the raw layout, and live searches on a compressed event clock that react to the rankings they get.
"""
