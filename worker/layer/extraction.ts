import { CONTEXT_ERRORS, type ContextRules, ContextWriter } from './context-writer.ts'
import { type IndexPaths, IndexWriter } from './index-writer.ts'
import { LAYER_ERRORS, LayerWriter, type TarLimits } from './layer-writer.ts'
import { invalidTar } from './tar-format.ts'
import { TarReader } from './tar-reader.ts'
import { TreeWriter } from './tree-writer.ts'

/** What to write and where; plain data, so that it passes to a thread. */
export type ExtractionRequest = {
  limits: TarLimits
} & (
  | {
      kind: 'layer' | 'context' | 'folder'
      /** An empty folder that this process owns. */
      folder: string
      /** Of a context: its links may lead anywhere. */
      keepsLinks?: boolean
      /** Of a context: it is laid over what the folder has. */
      isOver?: boolean
    }
  | ({ kind: 'index' } & IndexPaths)
)

/** A tar on its way into a folder, or beside its index, synchronously. */
export interface Extraction extends Disposable {
  write(chunk: Buffer): void
  /** After the last byte: throws for a tar that is cut off. */
  finish(): void
}

export function openExtraction(request: ExtractionRequest): Extraction {
  switch (request.kind) {
    case 'index':
      return new IndexWriter(request, request.limits)
    case 'layer':
      return openLayer(request.folder, request.limits, true)
    case 'folder':
      return openLayer(request.folder, request.limits, false)
    case 'context':
      return openContext(request)
  }
}

/** `isLayer`: names may lead through its links, and some are whiteouts. */
function openLayer(folder: string, limits: TarLimits, isLayer: boolean): Extraction {
  const tree = new TreeWriter(folder, {
    ...{ followsLinks: isLayer, keepsOwners: true, errors: LAYER_ERRORS },
    maxImplied: limits.maxEntries,
  })
  const writer = new LayerWriter(tree, limits, isLayer)
  const reader = new TarReader(writer, LAYER_ERRORS)
  return {
    write: chunk => reader.write(chunk),
    finish: () => {
      reader.finish()
      writer.finish()
    },
    [Symbol.dispose]: () => writer[Symbol.dispose](),
  }
}

function openContext({ folder, limits, ...rules }: ContextRules & { folder: string; limits: TarLimits }): Extraction {
  const writer = new ContextWriter(folder, limits, rules)
  const reader = new TarReader(writer, CONTEXT_ERRORS)
  return {
    write: chunk => reader.write(chunk),
    finish: () => {
      reader.finish()
      // A layer's digest proves that it is whole; nothing else proves that of a context.
      if (!reader.hasEnded)
        throw invalidTar(CONTEXT_ERRORS, 'has no end: the upload was cut off, or it is not a tar. Send it again')
      writer.finish()
    },
    [Symbol.dispose]: () => writer[Symbol.dispose](),
  }
}
