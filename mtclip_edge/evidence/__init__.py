"""What an answer rests on: similarity beside ordinary films, votes of the nearest reports, verdict, heat map.

In: a film's vector, its probability and the nearest reports. Out: ``Evidence``. Open ``gather`` first.
"""
