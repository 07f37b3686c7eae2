"""The notation of FunctionGemma and Gemma 4, written and read: `call:NAME{key:<escape>text<escape>}`."""
