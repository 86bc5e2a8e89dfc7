"""Which model and which operation answer a need, in which steps and for how much. Asks no model and spends nothing."""
