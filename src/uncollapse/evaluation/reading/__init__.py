"""Files of other people's layouts, read into tasks, runs and judgements, and written."""

from uncollapse.evaluation.reading.layouts import open_tasks as open_tasks
