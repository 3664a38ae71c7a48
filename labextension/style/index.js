import 'uplot/dist/uPlot.min.css';
import './base.css';
import './explorer.css';
import './mesh.css';
