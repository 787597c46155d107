"""What a run costs and how long it takes, from dated prices and measured rates. Pure: no AWS, no clock.

``prices.json`` and ``rates.json`` beside this file are the only places where a price or a rate stands.
"""
