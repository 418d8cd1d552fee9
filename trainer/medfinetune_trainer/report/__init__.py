"""A run as one page: `report.html`, its figures as JSON, and the model card. Standard library and the API alone: it is made from a fetched folder anywhere."""
