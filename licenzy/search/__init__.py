"""Finding the records of one project and mode by their ids and by words."""
