"""Engines that spread the rows of campaigns over workers, behind one interface, `runs.campaigns.Engine`."""
