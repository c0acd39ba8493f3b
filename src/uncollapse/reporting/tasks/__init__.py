"""The parts of the report that show an evaluation: an overview of its tasks, and a section for each of them."""

from uncollapse.reporting.tasks.overview import make_task_sections, make_task_tiles

__all__ = ["make_task_sections", "make_task_tiles"]
