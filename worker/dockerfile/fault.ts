import { SlipwayError } from '#shared/errors.ts'

/** Lines and columns count from 1. */
export interface Place {
  file: string
  line: number
  column: number
}

/** The code of every fault that a Dockerfile itself can have; `facts` are its place. `why` is a sentence without its full stop. */
export function dockerfileFault(
  place: Place,
  why: string,
  code: 'build.dockerfile-invalid' | 'build.instruction-unsupported' = 'build.dockerfile-invalid',
): SlipwayError {
  const { file, line, column } = place
  return new SlipwayError(code, atPlace(place, `${why}.`), { facts: { file, line, column } })
}

/** A sentence as all faults of a Dockerfile have it, whoever found them. */
export function atPlace({ file, line, column }: Place, sentence: string): string {
  return `${file}:${line}:${column}: ${sentence}`
}
