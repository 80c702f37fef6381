import { digestOf } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import {
  type Descriptor,
  type HistoryEntry,
  type ImageConfig,
  type ImageManifest,
  MEDIA_TYPES,
} from '#shared/domain/image.ts'
import type { LayerSize, ResolvedImage } from '#shared/protocol/agent.ts'
import { firstState, type StageState } from '../dockerfile/stage-state.ts'

/** An image as far as a stage has come. Never mutated. */
export interface Draft {
  state: StageState
  layers: Descriptor[]
  diffIds: ImageConfig['rootfs']['diff_ids']
  history: HistoryEntry[]
  /** Of the layers that were built here. */
  layerSizes: LayerSize[]
  created: string | undefined
  /** The key of the last step that worked on files, of this stage or of those below it. */
  lastStep?: string
  /** What the base says of its platform besides operating system and architecture. */
  platform: Pick<ImageConfig, 'variant' | 'os.version' | 'os.features'>
}

export const EMPTY_DRAFT: Draft = {
  state: firstState(undefined),
  layers: [],
  diffIds: [],
  history: [],
  layerSizes: [],
  created: undefined,
  platform: {},
}

export function draftOf({ manifest, config }: ResolvedImage): Draft {
  return {
    state: firstState(config.config, config.author),
    layers: manifest.layers,
    diffIds: config.rootfs.diff_ids,
    history: config.history ?? [],
    layerSizes: [],
    created: config.created,
    platform: platformOf(config),
  }
}

function platformOf({ variant, 'os.version': version, 'os.features': features }: ImageConfig): Draft['platform'] {
  return {
    ...(variant === undefined ? {} : { variant }),
    ...(version === undefined ? {} : { 'os.version': version }),
    ...(features === undefined ? {} : { 'os.features': features }),
  }
}

/** After an instruction that only the configuration shows. */
export function withState(draft: Draft, state: StageState, said: string): Draft {
  return { ...draft, state, history: [...draft.history, entry(said, draft.created, true)] }
}

/** After an instruction that worked on files, whether it changed any or not. */
export function withStep(draft: Draft, result: StepResult, said: string, state = draft.state): Draft {
  const { created, layer } = result
  const history = [...draft.history, entry(said, created, layer === undefined)]
  if (!layer) return { ...draft, state, history, created }
  const { digest, size, unpackedBytes } = layer
  const mediaType = layer.compression === 'zstd' ? MEDIA_TYPES.layerZstd : MEDIA_TYPES.layerGzip
  const descriptor = { mediaType, digest, size }
  return {
    ...draft,
    state,
    history,
    created,
    layers: [...draft.layers, descriptor],
    diffIds: [...draft.diffIds, layer.diffId],
    layerSizes: unpackedBytes === undefined ? draft.layerSizes : [...draft.layerSizes, { digest, unpackedBytes }],
  }
}

/** The image's own time where it is to be the same each time it is built (seconds since 1970). */
export function withEpoch(draft: Draft, epoch: number | undefined): Draft {
  return epoch === undefined ? draft : { ...draft, created: new Date(epoch * 1000).toISOString() }
}

/** What whoever made the last entry of history wanted to say of it. */
export function annotated(draft: Draft, note: Pick<HistoryEntry, 'comment' | 'author'>): Draft {
  const last = draft.history.at(-1)
  return last ? { ...draft, history: [...draft.history.slice(0, -1), { ...last, ...note }] } : draft
}

function entry(said: string, created: string | undefined, isEmpty: boolean): HistoryEntry {
  return { ...(created === undefined ? {} : { created }), created_by: said, ...(isEmpty ? { empty_layer: true } : {}) }
}

/** Manifest and configuration as the exact bytes that their digests are of (OCI image-spec 1.1). */
export async function imageOf(
  draft: Draft,
  architecture: string,
  annotations: Readonly<Record<string, string>> = {},
): Promise<ResolvedImage & { texts: Texts }> {
  const { state, created } = draft
  const config: ImageConfig = {
    ...(created === undefined ? {} : { created }),
    ...(state.author === undefined ? {} : { author: state.author }),
    architecture,
    os: 'linux',
    ...draft.platform,
    config: state.config,
    rootfs: { type: 'layers', diff_ids: draft.diffIds },
    history: draft.history,
  }
  const configText = JSON.stringify(config)
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: {
      mediaType: MEDIA_TYPES.config,
      digest: await digestOf(configText),
      size: Buffer.byteLength(configText),
    },
    layers: draft.layers,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  }
  const manifestText = JSON.stringify(manifest)
  return {
    digest: await digestOf(manifestText),
    manifest,
    config,
    texts: { manifest: manifestText, config: configText },
  }
}

export interface Texts {
  manifest: string
  config: string
}
