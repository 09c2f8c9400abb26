"""Networks of the methods: tensors in, tensors out; how they are trained is `xflux.training`."""
