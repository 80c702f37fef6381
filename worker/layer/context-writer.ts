import { closeSync } from 'node:fs'
import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { errnoOf } from '#worker/host/kernel-error.ts'
import { type TarLimits, WHITEOUT } from './layer-writer.ts'
import { invalidTar, namesOf, shown, type TarEntry } from './tar-format.ts'
import type { TarConsumer } from './tar-reader.ts'
import { TreeWriter } from './tree-writer.ts'

export interface ContextRules {
  /** They may lead anywhere, and none is followed here. */
  keepsLinks?: boolean | undefined
  /** The folder has files already. */
  isOver?: boolean | undefined
}

export const CONTEXT_ERRORS = { invalid: 'context.invalid', unsafe: 'context.unsafe-path' } as const

/**
 * Writes a build context's entries into a folder, owned by this process. A context is anyone's: whatever could reach
 * outside of it is refused by name, not mended, so that a build never copies something else than its author sees.
 * An ignore file counts after that: it keeps out nothing that stops the unpacking.
 */
export class ContextWriter implements TarConsumer, Disposable {
  readonly #tree: TreeWriter
  readonly #limits: TarLimits
  readonly #options: ContextRules
  /** Checked at the end, when all that they may lead through is there. */
  readonly #links = new Set<string>()
  #entries = 0
  #bytes = 0

  constructor(folder: string, limits: TarLimits, options: ContextRules = {}) {
    this.#tree = new TreeWriter(folder, {
      ...{ followsLinks: false, keepsOwners: false, errors: CONTEXT_ERRORS },
      maxImplied: limits.maxEntries,
    })
    this.#limits = limits
    this.#options = options
  }

  entry(entry: TarEntry): void {
    this.#count(entry)
    const names = safeNames(entry.path)
    if (names.length === 0) {
      if (entry.type !== 'folder') throw unsafe(entry.path, 'would replace the context itself', 'Give it a name.')
      return // The context's own folder: ours, whatever its owner had.
    }
    const name = names.at(-1) ?? ''
    if (this.#options.isOver && name.startsWith(WHITEOUT)) this.#takeAway(names, name.slice(WHITEOUT.length), entry)
    else this.#make(names, entry)
  }

  data(bytes: Buffer, offset: number): void {
    this.#tree.write(bytes, offset)
  }

  end(): void {
    this.#tree.endFile()
  }

  finish(): void {
    for (const path of this.#links) this.#checkLink(path)
    this.#tree.finish()
  }

  [Symbol.dispose](): void {
    this.#tree[Symbol.dispose]()
  }

  #count(entry: TarEntry): void {
    this.#entries++
    this.#bytes += entry.size
    const { maxEntries, maxBytes } = this.#limits
    if (this.#entries > maxEntries) throw contextTooLarge(`${maxEntries} entries`)
    if (this.#bytes > maxBytes) throw contextTooLarge(sizeInWords(maxBytes))
  }

  #make(names: readonly string[], entry: TarEntry): void {
    if (entry.type === 'folder') this.#tree.folder(names, entry)
    else if (entry.type === 'file') this.#tree.file(names, entry)
    else if (entry.type === 'symlink') this.#makeLink(names, entry)
    else if (entry.type === 'hardlink') this.#makeHardlink(names, entry)
    else throw unsafe(entry.path, 'is a device or FIFO', 'Make the tar without it: .dockerignore comes too late.')
  }

  /** `.wh..wh.…` is no name of a file's: others' marks begin so. */
  #takeAway(names: readonly string[], name: string, entry: TarEntry): void {
    const isMark = name === '' || name === '.' || name === '..' || name.startsWith(WHITEOUT)
    if (isMark) throw invalidTar(CONTEXT_ERRORS, 'takes away nothing that can be named: write .wh.NAME', entry.path)
    this.#tree.remove([...names.slice(0, -1), name], entry.path)
  }

  #makeLink(names: readonly string[], entry: TarEntry): void {
    if (!this.#options.keepsLinks && entry.linkTarget.startsWith('/')) {
      const advice =
        'Make the link relative, or leave it out of the tar and make it by RUN ln -s: .dockerignore comes too late.'
      throw unsafe(entry.path, `is a link to the absolute path ${shown(entry.linkTarget)}`, advice)
    }
    this.#tree.symlink(names, entry)
    if (!this.#options.keepsLinks) this.#links.add(names.join('/'))
  }

  /** The file may be a link itself, which means another place here. */
  #makeHardlink(names: readonly string[], entry: TarEntry): void {
    this.#tree.hardlink(names, safeNames(entry.linkTarget, entry.path), entry)
    this.#links.add(names.join('/'))
  }

  /** One whose way ends inside, be it at nothing, is fine. */
  #checkLink(path: string): void {
    try {
      closeSync(this.#tree.openBeneath(path))
    } catch (error) {
      if (errnoOf(error) !== 'EXDEV') return
      throw unsafe(path, 'is a link that leads out of the context', 'Copy what it leads to into the context.')
    }
  }
}

/** `linkOf`: the entry that has the path as its link's target. */
function safeNames(path: string, linkOf?: string): string[] {
  const names = namesOf(path, CONTEXT_ERRORS, linkOf)
  const entry = linkOf ?? path
  const target = linkOf === undefined ? undefined : shown(path)
  if (path.startsWith('/')) {
    const why = target ? `links to the absolute name ${target}` : 'has an absolute name'
    throw unsafe(entry, why, 'Make the tar with relative names.')
  }
  if (names.includes('..')) {
    const why = target ? `links to ${target}, which leads upwards by ".."` : 'leads upwards by ".."'
    throw unsafe(entry, why, 'Make the tar inside the context folder.')
  }
  return names
}

function unsafe(path: string, why: string, advice: string): SlipwayError {
  const facts = { entry: Buffer.from(path, 'latin1').toString() }
  return new SlipwayError('context.unsafe-path', `The context's entry ${shown(path)} ${why}. ${advice}`, { facts })
}

export function contextTooLarge(limit: string): SlipwayError {
  const advice = 'Make the tar without what the build does not need: .dockerignore comes too late.'
  return new SlipwayError('request.too-large', `The build context has more than ${limit}. ${advice}`)
}
