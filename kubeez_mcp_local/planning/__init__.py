"""Which model and which operation answer a wish, in which steps and for how much. Asks no model and spends nothing."""
