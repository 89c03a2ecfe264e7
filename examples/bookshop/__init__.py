"""A small real upstream for the tour: a shop of books, with its own OpenAPI document.

Run it by itself: `uvicorn --app-dir examples bookshop.app:app --port 8001`.
"""
