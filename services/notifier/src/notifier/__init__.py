"""The notifier: registry events on their way from JetStream to webhooks."""
