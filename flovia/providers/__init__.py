"""Payment providers: the :class:`~flovia.providers.base.Provider` protocol and the ones that ship with flovia."""
