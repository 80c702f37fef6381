/** A word that cannot be what it should; `part` is what of the line it is about, where that is known. */
export class WordError extends Error {
  readonly part: string | undefined

  constructor(message: string, part?: string) {
    super(message)
    this.part = part
  }
}
