"""Alignment: findings and their proof."""
