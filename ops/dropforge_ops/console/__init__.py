"""The console: pages that show one stack and let people decide, on AWS and locally alike.

``reading`` asks AWS (plain functions over boto3 clients, no NiceGUI), ``components`` draw,
``pages`` join both.
"""
