import { openOverlaySnapshotter } from './overlay-snapshotter.ts'
import { describeSnapshotter } from './snapshotter.contract.ts'

describeSnapshotter('overlay', folder => openOverlaySnapshotter(folder))
