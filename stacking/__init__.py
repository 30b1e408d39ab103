"""The runs of an experiment trained as one model with stacked weights."""
