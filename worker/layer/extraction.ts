import { CONTEXT_ERRORS, ContextWriter } from './context-writer.ts'
import { LAYER_ERRORS, LayerWriter, type TarLimits } from './layer-writer.ts'
import { invalidTar } from './tar-format.ts'
import { TarReader } from './tar-reader.ts'

/** What to write and where; plain data, so that it passes to a thread. */
export interface ExtractionRequest {
  kind: 'layer' | 'context'
  /** An empty folder that this process owns. */
  folder: string
  limits: TarLimits
}

/** A tar on its way into a folder, synchronously. */
export interface Extraction extends Disposable {
  write(chunk: Buffer): void
  /** After the last byte: throws for a tar that is cut off. */
  finish(): void
}

export function openExtraction({ kind, folder, limits }: ExtractionRequest): Extraction {
  const isContext = kind === 'context'
  const errors = isContext ? CONTEXT_ERRORS : LAYER_ERRORS
  const writer = isContext ? new ContextWriter(folder, limits) : new LayerWriter(folder, limits)
  const reader = new TarReader(writer, errors)
  return {
    write: chunk => reader.write(chunk),
    finish: () => {
      reader.finish()
      // A layer's digest proves that it is whole; nothing else proves that of a context.
      if (isContext && !reader.hasEnded) throw invalidTar(errors, 'has no end: the upload was cut off, or it is no tar')
      writer.finish()
    },
    [Symbol.dispose]: () => writer[Symbol.dispose](),
  }
}
