"""A suite of models watched night by night: judged against a baseline, an alarm where one got worse."""
