/** RFC 8878, 3.1. */
const FRAME_MAGIC = 0xfd2fb528
const SKIPPABLE_MAGIC = 0x184d2a50
const DICTIONARY_BYTES = [0, 1, 2, 4] as const
const SIZE_BYTES = [0, 2, 4, 8] as const
const RUN_BLOCK = 1

/**
 * The same bytes, cut so that no chunk reaches over the end of a frame: Node's decompressor takes one frame a write and
 * drops, without a word, what follows in the same. Layers in `zstd:chunked` have a frame a file. What is no frame is
 * passed on for the decompressor to refuse.
 */
export async function* cutAtFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const walk = walkFrames()
  let step = walk.next()
  let seen: number[] = []
  let left = bytesOf(step)
  for await (const chunk of chunks) {
    let start = 0
    for (let at = 0; at < chunk.length; ) {
      const count = Math.min(left, chunk.length - at)
      if (step.value?.kind === 'read') seen.push(...chunk.subarray(at, at + count))
      at += count
      left -= count
      while (left === 0) {
        const isEnd = step.value?.isFrameEnd === true
        if (isEnd && at > start) yield chunk.subarray(start, at)
        if (isEnd) start = at
        step = walk.next(seen)
        seen = []
        left = bytesOf(step)
      }
    }
    if (start < chunk.length) yield chunk.subarray(start)
  }
}

interface Stretch {
  kind: 'read' | 'pass'
  bytes: number
  isFrameEnd?: boolean
}

function bytesOf({ value }: IteratorResult<Stretch, void>): number {
  return value ? value.bytes : Number.POSITIVE_INFINITY
}

/** What follows what, given the bytes of what was read; ends at what is no frame. */
function* walkFrames(): Generator<Stretch, void, number[]> {
  for (;;) {
    const magic = numberOf(yield { kind: 'read', bytes: 4 })
    if (magic >= SKIPPABLE_MAGIC && magic < SKIPPABLE_MAGIC + 16) {
      yield { kind: 'pass', bytes: numberOf(yield { kind: 'read', bytes: 4 }), isFrameEnd: true }
    } else if (magic === FRAME_MAGIC) yield* walkFrame()
    else return
  }
}

function* walkFrame(): Generator<Stretch, void, number[]> {
  const descriptor = numberOf(yield { kind: 'read', bytes: 1 })
  const isSingle = (descriptor & 0x20) !== 0
  const sizeBytes = SIZE_BYTES[((descriptor >> 6) & 3) as 0 | 1 | 2 | 3] || (isSingle ? 1 : 0)
  const dictionaryBytes = DICTIONARY_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3]
  yield { kind: 'pass', bytes: (isSingle ? 0 : 1) + dictionaryBytes + sizeBytes }
  for (let isLast = false; !isLast; ) {
    const header = numberOf(yield { kind: 'read', bytes: 3 })
    isLast = (header & 1) !== 0
    yield { kind: 'pass', bytes: ((header >> 1) & 3) === RUN_BLOCK ? 1 : header >> 3 }
  }
  yield { kind: 'pass', bytes: (descriptor & 4) === 0 ? 0 : 4, isFrameEnd: true }
}

function numberOf(littleEndian: readonly number[]): number {
  return littleEndian.reduceRight((total, byte) => total * 256 + byte, 0)
}
