package main

func randomScript(s *side, seed uint64, steps int) {}
