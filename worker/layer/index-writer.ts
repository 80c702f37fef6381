import { closeSync, openSync, writeSync } from 'node:fs'
import { sizeInWords } from '#shared/size-in-words.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { encodeImage } from './erofs-image.ts'
import { IndexTree } from './index-tree.ts'
import { LAYER_ERRORS, LayerWriter, type TarLimits } from './layer-writer.ts'
import { invalidTar } from './tar-format.ts'
import { TarReader } from './tar-reader.ts'

/** What headers, names and padding of a tar's entries take at most, on average. */
const ENTRY_BYTES = 4096

export interface IndexPaths {
  /** Files to be made. */
  tar: string
  index: string
}

/**
 * Writes a layer's tar into a file as it comes, once, and beside it an EROFS metadata image that shows the tar's files
 * when both are mounted together. No call of the kernel is made per entry. Errors: `layer.invalid`, `host.disk-full`,
 * `host.kernel-refused`.
 */
export class IndexWriter implements Disposable {
  readonly #tar: OutputFile
  readonly #index: OutputFile
  readonly #tree: IndexTree
  readonly #writer: LayerWriter
  readonly #reader: TarReader
  readonly #maxBytes: number
  #tarBytes = 0

  constructor({ tar, index }: IndexPaths, limits: TarLimits) {
    using undo = new DisposableStack()
    this.#tar = undo.use(new OutputFile(tar))
    this.#index = undo.use(new OutputFile(index))
    this.#tree = new IndexTree(limits.maxEntries, (bytes, at) => this.#index.write(bytes, at))
    this.#writer = new LayerWriter(this.#tree, limits)
    this.#reader = new TarReader(this.#writer, LAYER_ERRORS)
    this.#maxBytes = limits.maxBytes + (limits.maxEntries + 1) * ENTRY_BYTES
    undo.move()
  }

  write(chunk: Buffer): void {
    if (this.#tarBytes + chunk.length > this.#maxBytes) {
      throw invalidTar(LAYER_ERRORS, `has more than ${sizeInWords(this.#maxBytes)}: split it into several layers`)
    }
    this.#reader.write(chunk)
    this.#tar.write(chunk, this.#tarBytes)
    this.#tarBytes += chunk.length
  }

  finish(): void {
    this.#reader.finish()
    this.#writer.finish()
    const { root, firstFreeBlock } = this.#tree
    const image = encodeImage({ root, tarBytes: this.#tarBytes, firstBlock: firstFreeBlock })
    this.#index.write(image.metadata, image.metadataAt)
    this.#index.write(image.head, 0)
  }

  [Symbol.dispose](): void {
    this.#writer[Symbol.dispose]()
    this.#tar[Symbol.dispose]()
    this.#index[Symbol.dispose]()
  }
}

class OutputFile implements Disposable {
  readonly #path: string
  readonly #fd: number

  constructor(path: string) {
    this.#path = path
    this.#fd = this.#do(() => openSync(path, 'wx', 0o600))
  }

  write(bytes: Buffer, at: number): void {
    this.#do(() => {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(this.#fd, bytes, done, bytes.length - done, at + done)
      }
    })
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }

  #do<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw asKernelError(error, `write ${this.#path}`)
    }
  }
}
