"""The parts of the report that say why long texts drift together and what it costs: one module a section."""
