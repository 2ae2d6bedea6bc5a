"""Settings: the environment, read once and frozen.

The process's environment comes in; one `Settings` goes out to `app.main`, which passes each part what it needs. One
SettingsError reports every fault and shows no value.

    settings.py    Settings and most variables        backends.py    AZURE_OPENAI_BACKENDS
    telemetry.py   Application Insights and OTLP      patterns.py    PROXY_REDACT
"""
