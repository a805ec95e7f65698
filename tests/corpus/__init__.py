"""Bad input: values made by hand, requests made of them by rule."""
