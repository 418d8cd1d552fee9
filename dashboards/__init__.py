"""The Grafana dashboards that the chart carries, made from code: `python -m dashboards` writes charts/medfinetune/dashboards/*.json.

`fleet` and `run` say what is shown; `panels` and `frame` are what both look like; `queries` reads the finished JSON as Grafana does, for tests and pictures.
"""
