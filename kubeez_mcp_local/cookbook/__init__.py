"""Recipes as code: one Markdown file that is prompt, price list, program and test."""
