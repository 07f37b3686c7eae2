"""The notation of FunctionGemma and Gemma 4, its writer and its reader: `call:NAME{key:<escape>text<escape>}`."""
