"""General helpers: text, files, robust statistics, axes and colours of figures."""
