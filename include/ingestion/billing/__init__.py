"""Billing exports, from the inbox to the lake."""
